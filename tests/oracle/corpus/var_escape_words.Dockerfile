FROM busybox
ENV A=\$HOME B="\$HOME" C='\$HOME' D=a\\b E="a\\b" F=$$ G=$1 H=${1} I=$? J=a$ K="$" L=${A}b$A-c
