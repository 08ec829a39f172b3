FROM scratch
RUN ÿş echo
RÿN x
