function "tag" {
  params          = [name]
  variadic_params = more
  result          = concat(["${name}:latest"], [for m in more : "${name}:${m}"])
}
function "twice" {
  params = [x]
  result = half(x) * 4
}
function "half" {
  params = [x]
  result = x / 2
}
numbers = [1, 2, 3]
target "default" {
  tags = tag("r/app", numbers...)
  args = {
    TWICE = twice(21)
    SUM   = sum
    TYPED = jsonencode(convert({ a = "1" }, map(number)))
    TRIED = try(numbers[7], "none")
    SPLAT = join("+", [for n in numbers : format("%02d", n)])
  }
}
sum = numbers[0] + numbers[1] * numbers[2]
