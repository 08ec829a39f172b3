FROM scratch
RU[31mN x
ENV a=b
