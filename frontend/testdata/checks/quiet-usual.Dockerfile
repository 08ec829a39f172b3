FROM node:22 AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build
FROM node:22-slim
COPY --from=build /app/dist /app
CMD ["node", "/app/main.js"]
