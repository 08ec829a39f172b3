FROM scratch
ENV A=1 \
    B=x${A:/y}z
