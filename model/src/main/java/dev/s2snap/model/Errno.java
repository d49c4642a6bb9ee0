package dev.s2snap.model;

/// Linux error numbers, as they are returned: negative.
public final class Errno {
    public static final int EPERM = -1;
    public static final int ENOENT = -2;
    public static final int E2BIG = -7;
    public static final int EAGAIN = -11;
    public static final int ENOMEM = -12;
    public static final int EFAULT = -14;
    public static final int EBUSY = -16;
    public static final int EINVAL = -22;
    public static final int ERANGE = -34;
    public static final int EOPNOTSUPP = -95;

    private Errno() {}

    /// The name behind a return value ("-EPERM"), or the number.
    public static String name(long value) {
        return switch ((int) value) {
            case 0 -> "0";
            case EPERM -> "-EPERM";
            case ENOENT -> "-ENOENT";
            case E2BIG -> "-E2BIG";
            case EAGAIN -> "-EAGAIN";
            case ENOMEM -> "-ENOMEM";
            case EFAULT -> "-EFAULT";
            case EBUSY -> "-EBUSY";
            case EINVAL -> "-EINVAL";
            case ERANGE -> "-ERANGE";
            case EOPNOTSUPP -> "-EOPNOTSUPP";
            default -> Long.toString(value);
        };
    }
}
