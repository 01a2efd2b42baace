timer.sleep "2ms"
return require "modules.circle_a"
