FROM ${a
