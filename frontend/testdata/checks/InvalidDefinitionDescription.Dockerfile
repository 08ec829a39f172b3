# check=experimental=InvalidDefinitionDescription
# the one that builds
FROM busybox:1.36 AS build
