FROM busybox
RUN --device=required true
RUN --device=a.com/b=c,requird=1 true
RUN --device=a.com/b=c,required=x true
