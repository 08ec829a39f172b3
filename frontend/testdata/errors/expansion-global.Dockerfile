ARG A=${B:x}
FROM scratch
