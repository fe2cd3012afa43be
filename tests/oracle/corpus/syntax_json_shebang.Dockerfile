#!/x
{"syntax": "other/frontend"}
