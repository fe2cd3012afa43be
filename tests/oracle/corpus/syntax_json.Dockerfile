{"syntax": "other/frontend", "x": 1}
