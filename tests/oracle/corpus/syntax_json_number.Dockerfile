{"syntax": 1}
