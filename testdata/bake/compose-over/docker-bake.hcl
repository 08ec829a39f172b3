target "web" { args = { FROM_HCL = "1" } }
