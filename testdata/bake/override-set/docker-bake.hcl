group "default" { targets = ["web", "api"] }
target "web" {
  tags   = ["web:1"]
  output = ["type=image", "type=registry"]
  secret = ["id=tok,env=TOKEN"]
}
target "api" { context = "api/./src" }
