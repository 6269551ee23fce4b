#!/bin/sh
# Compile the adapter against an installed management server and pack it; run it on that server.
#   sh build.sh [folder with the management server's jars]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
jars=${1:-/usr/share/cloudstack-management/lib}
out=$here/target
rm -rf "$out"
mkdir -p "$out/classes"
find "$here/src/main/java" -name '*.java' > "$out/sources"
javac -Xlint:all -cp "$jars/*" -d "$out/classes" "@$out/sources"
cp -R "$here/src/main/resources/." "$out/classes/"
jar --create --file "$out/hyperv-connected-agent.jar" -C "$out/classes" .
echo "$out/hyperv-connected-agent.jar: copy it to $jars on every management server and restart them"
