FROM scratch
RUN apt-get install
  curl
