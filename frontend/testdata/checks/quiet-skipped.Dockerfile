FROM debian:12
# check=skip=AptListsKept
RUN apt-get update
