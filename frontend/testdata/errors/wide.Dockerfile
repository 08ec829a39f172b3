FROM scratch
LABEL 日本=語 名前
