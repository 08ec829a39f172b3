FROM missing:1.0
