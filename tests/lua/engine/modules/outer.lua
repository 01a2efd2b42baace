return { neighbour = require "neighbour", name = ... }
