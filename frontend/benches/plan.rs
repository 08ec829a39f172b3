//! Text to graph: a usual Dockerfile (well under a millisecond) and one of ten thousand stages (under a second).
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Images, request};
use criterion::{Criterion, criterion_group, criterion_main};
use frontend::config::ImageConfig;
use frontend::plan::Plan;
use std::hint::black_box;

fn plan(source: &str) -> Plan {
    let document = frontend::read(source.as_bytes()).unwrap();
    frontend::plan(&document, &request(), &Images(|_: &_, _: &_| Ok(ImageConfig::default()))).unwrap()
}

const USUAL: &str = r#"# syntax=docker/dockerfile:1
ARG NODE=22
FROM node:${NODE}-slim AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci
FROM deps AS build
COPY . .
RUN <<EOF
npm run build
npm prune --omit=dev
EOF
FROM node:${NODE}-slim
ENV NODE_ENV=production PORT=8080
WORKDIR /app
COPY --from=build --chown=node:node /app/dist ./dist
COPY --from=build /app/node_modules ./node_modules
USER node
EXPOSE ${PORT}
HEALTHCHECK --interval=30s CMD ["node", "dist/health.js"]
ENTRYPOINT ["node", "dist/main.js"]
"#;

fn benchmarks(c: &mut Criterion) {
    c.bench_function("a usual Dockerfile", |bencher| bencher.iter(|| plan(black_box(USUAL))));
    let mut row = String::from("FROM x AS s0\n");
    for at in 1..10_000 {
        row.push_str(&format!("FROM s{} AS s{at}\nRUN make {at}\nCOPY --from=s0 /a /b\n", at - 1));
    }
    let mut group = c.benchmark_group("ten thousand stages");
    group.sample_size(10);
    group.bench_function("in a row", |bencher| bencher.iter(|| plan(black_box(&row))));
    group.finish();
}

criterion_group!(all, benchmarks);
criterion_main!(all);
