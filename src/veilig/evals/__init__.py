"""How well does it do? Benchmark tasks, runner, statistics, capability report. Nobody imports this."""
