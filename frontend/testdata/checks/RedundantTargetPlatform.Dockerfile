FROM --platform=$TARGETPLATFORM busybox:1.36
