namespace Subquartic.Attention;

/// <summary>What a tolerance is a fraction of.</summary>
public enum ToleranceKind
{
    /// <summary>The range of V: largest minus smallest value of a column over the keys of the head, largest over the columns.</summary>
    Range,

    /// <summary>Nothing: it is in units of V.</summary>
    Absolute,

    /// <summary>The largest absolute value of the exact output row.</summary>
    Row,
}

/// <summary>The largest error allowed of any output entry.</summary>
/// <param name="Value">Above 0.</param>
/// <param name="Kind">What it is a fraction of.</param>
public readonly record struct Tolerance(double Value, ToleranceKind Kind = ToleranceKind.Range)
{
    /// <summary>The error allowed in a row, in units of V.</summary>
    /// <param name="range">Range of V.</param>
    /// <param name="row">max |o~| of the approximate row. An error e &lt;= t/(1 + t) max|o~| is at most t max|o|, since
    /// max|o| >= max|o~| - e.</param>
    /// <returns>The error.</returns>
    public double Allowed(double range, double row) => Kind switch
    {
        ToleranceKind.Range => Value * range,
        ToleranceKind.Absolute => Value,
        _ => Value / (1 + Value) * row,
    };

    /// <summary>Creates a fraction of the range of V.</summary>
    /// <param name="value">Above 0.</param>
    public static implicit operator Tolerance(double value) => FromDouble(value);

    /// <summary>Creates a fraction of the range of V.</summary>
    /// <param name="value">Above 0.</param>
    /// <returns>The tolerance.</returns>
    public static Tolerance FromDouble(double value) => new(value);
}
