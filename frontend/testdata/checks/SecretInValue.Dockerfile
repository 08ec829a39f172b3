FROM busybox:1.36
COPY .npmrc /root/
ENV TOKEN_FOR_CI=ghp_0123456789abcdefghijklmnopqrstuvwxyz
