FROM a b
FROM a as b c
