FORM scratch
RUN --mont=type=cache,target=/x true
COPY a
LABEL
EXPOSE 80
SHELL /bin/bash
