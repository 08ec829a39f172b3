FROM scratch AS a
ARG B=a
COPY --from=$B /x /y
