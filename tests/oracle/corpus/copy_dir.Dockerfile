FROM busybox
COPY dir/ /dest/
COPY . .
COPY ./x ./y/
COPY ../up /o
