FROM busybox
CMD echo "hi" $HOME
