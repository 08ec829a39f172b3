FROM busybox:1.36
ENTRYPOINT my-program
