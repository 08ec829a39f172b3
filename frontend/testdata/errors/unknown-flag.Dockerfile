FROM scratch
COPY --form=a b /c
CMD --interval=1s true
RUN --volume=/x true
