FROM scratch
COPY --link=maybe a /b
COPY --chown a /b
COPY --chown=1 --chown=2 a /b
