# Finds a JDK and Maven; sourced by s2snap, verify, build/mvn and .ci/run. POSIX sh; finding starts no process, but
# for one readlink when java comes from PATH.
#
#   find_jdk     sets and exports JAVA_HOME: a JDK (it has javac) of release 25 or later; fails when there is none
#   jdk_version  sets JDK_VERSION, with its build, such as 25.0.3+9-LTS; after find_jdk
#   find_maven   sets MVN: the mvn to run; fails when there is none
#   maven_opts   exports MAVEN_OPTS: keeps Maven 3 quiet on a JDK that warns of its Unsafe
#   run_maven    COMMAND ARGUMENT...: all of these, then becomes mvn; COMMAND is the name to complain under
#
# A JDK is looked for in JAVA_HOME, then behind the java of PATH, then in the folders of S2SNAP_JDK_FOLDERS:
# a colon-separated list, each itself a JDK or a folder of JDKs. Its default is where packages and tools install them.
# The release is read from the file `release` of each, as starting java to ask costs more than most commands.

S2SNAP_JDK_RELEASE=25
: "${S2SNAP_JDK_FOLDERS=/usr/lib/jvm:/opt:${HOME:-/nonexistent}/.sdkman/candidates/java:${HOME:-/nonexistent}/.jdks:/Library/Java/JavaVirtualMachines:${HOME:-/nonexistent}/Library/Java/JavaVirtualMachines}"

# is_jdk HOME
is_jdk() {
    [ -x "$1/bin/javac" ] && [ -x "$1/bin/java" ] && [ -r "$1/release" ] || return 1
    while IFS='=' read -r key value || [ -n "$key" ]; do
        [ "$key" = JAVA_VERSION ] || continue
        value=${value#\"}
        value=${value%%[!0-9]*}
        [ "${value:-0}" -ge "$S2SNAP_JDK_RELEASE" ]
        return
    done <"$1/release"
    return 1
}

find_jdk() {
    if [ -n "${JAVA_HOME:-}" ] && is_jdk "$JAVA_HOME"; then
        export JAVA_HOME
        return 0
    fi

    java=$(command -v java) || java=
    if [ -n "$java" ]; then
        [ -L "$java" ] && java=$(readlink -f -- "$java")
        home=${java%/bin/java}
        if [ "$home" != "$java" ] && is_jdk "$home"; then
            JAVA_HOME=$home
            export JAVA_HOME
            return 0
        fi
    fi

    rest=$S2SNAP_JDK_FOLDERS:
    while [ -n "$rest" ]; do
        folder=${rest%%:*}
        rest=${rest#*:}
        [ -n "$folder" ] || continue
        for home in "$folder" "$folder"/* "$folder"/*/Contents/Home; do
            if is_jdk "$home"; then
                JAVA_HOME=$home
                export JAVA_HOME
                return 0
            fi
        done
    done
    return 1
}

jdk_version() {
    JDK_VERSION=
    while IFS='=' read -r key value || [ -n "$key" ]; do
        case $key in
            JAVA_RUNTIME_VERSION) JDK_VERSION=$value && break ;;
            JAVA_VERSION) JDK_VERSION=$value ;;
        esac
    done <"$JAVA_HOME/release"
    JDK_VERSION=${JDK_VERSION#\"}
    JDK_VERSION=${JDK_VERSION%\"*}
}

find_maven() {
    if [ -n "${MAVEN_HOME:-}" ] && [ -x "$MAVEN_HOME/bin/mvn" ]; then
        MVN=$MAVEN_HOME/bin/mvn
    else
        MVN=$(command -v mvn)
    fi
}

maven_opts() {
    MAVEN_OPTS="--sun-misc-unsafe-memory-access=allow --enable-native-access=ALL-UNNAMED${MAVEN_OPTS:+ $MAVEN_OPTS}"
    export MAVEN_OPTS
}

# complain COMMAND WHAT: one line, and the end.
complain() {
    printf '%s: %s\n' "$1" "$2" >&2
    exit 2
}

no_jdk() {
    complain "$1" "no JDK $S2SNAP_JDK_RELEASE or later found; install one (for example: Eclipse Temurin $S2SNAP_JDK_RELEASE) or set JAVA_HOME"
}

no_maven() {
    complain "$1" "no Maven found, which the build needs; install it (for example: apt-get install maven) or set MAVEN_HOME"
}

run_maven() {
    command=$1
    shift
    find_jdk || no_jdk "$command"
    find_maven || no_maven "$command"
    maven_opts
    exec "$MVN" -B -ntp "$@"
}
