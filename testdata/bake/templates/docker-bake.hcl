variable "LIST" { default = ["one", "two"] }
target "default" {
  dockerfile-inline = <<-EOT
    FROM scratch
    %{ for item in LIST ~}
    LABEL ${item}="yes"
    %{ endfor ~}
      COPY --link $${SRC} /
    EOT
  args = {
    TRIM = "  ${~ "x" ~}  !"
    IF   = "%{ if length(LIST) > 1 }many%{ else }one%{ endif }"
    NUM  = "${1 + 1}"
  }
}
