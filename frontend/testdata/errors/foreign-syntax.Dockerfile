// syntax=example.com/lang:1
image "x"
