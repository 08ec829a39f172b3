FROM busybox AS build
FROM scratch
COPY --from=missing-build /x /y
