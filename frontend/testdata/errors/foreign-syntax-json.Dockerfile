{"syntax": "example.com/lang:1"}
