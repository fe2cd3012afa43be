FROM example.com:5000/team/app:v1
RUN true
