FROM node:22 AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG npm_config_registry
ENV REGION=ASIA-NORTHEAST-1
RUN npm_config_build_from_source=true npm ci
FROM base AS build
RUN apt-get update && apt-get install -y gcc
RUN curl -s x | sh
COPY a /opt/a
RUN rm /opt/a
FROM node:22-slim
COPY --from=build /x /x
