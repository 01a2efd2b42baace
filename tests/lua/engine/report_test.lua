-- Numbers as people read them.

test.describe("report", function()
  test.it("seconds", function()
    local texts = {}
    for i, value in ipairs { 0, 0.0004, 0.25, 1, 99.99, 100.4, 119.7, 3661.2 } do
      texts[i] = report.seconds(value)
    end
    test.equal(texts, { "0 ms", "0 ms", "250 ms", "1.00 s", "99.99 s", "1 min 40 s", "2 min 00 s", "61 min 01 s" })
  end)

  test.it("bytes", function()
    test.equal({ report.bytes(0), report.bytes(1023), report.bytes(1024), report.bytes(16 * 1024 ^ 2) }, {
      "0 B",
      "1023 B",
      "1.0 kB",
      "16.0 MB",
    })
  end)
end)
