using System.Globalization;
using System.Text.Json.Nodes;

namespace Subquartic.Generation;

/// <summary>A setting of drawing: one number for all scales, or one for each of them, first to last.</summary>
public readonly struct ScaleValues : IEquatable<ScaleValues>, IParsable<ScaleValues>
{
    private readonly float[] _values;

    /// <summary>One number for all scales, or one for each.</summary>
    /// <param name="values">At least one.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public ScaleValues(params IReadOnlyList<float> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        _values = values.Count > 0 ? [.. values] : throw new ArgumentException("There is no value.", nameof(values));
    }

    /// <summary>The numbers: one, or one for each scale.</summary>
    public IReadOnlyList<float> Values => _values ?? [0];

    /// <summary>Whether one number stands for all scales.</summary>
    public bool IsOne => Values.Count == 1;

    /// <summary>The number of a scale.</summary>
    /// <param name="scale">Its index.</param>
    public float this[int scale] => IsOne ? Values[0] : Values[scale];

    /// <summary>One number for all scales.</summary>
    /// <param name="value">The number.</param>
    public static implicit operator ScaleValues(float value) => new(value);

    /// <summary>Whether the numbers are the same.</summary>
    public static bool operator ==(ScaleValues left, ScaleValues right) => left.Equals(right);

    /// <summary>Whether a number differs.</summary>
    public static bool operator !=(ScaleValues left, ScaleValues right) => !left.Equals(right);

    /// <summary>One number for all scales.</summary>
    /// <param name="value">The number.</param>
    /// <returns>The setting.</returns>
    public static ScaleValues FromSingle(float value) => value;

    /// <summary>Reads numbers with commas between, as <see cref="ToString"/> writes them.</summary>
    /// <param name="s">The text.</param>
    /// <param name="provider">How numbers are written.</param>
    /// <returns>The setting.</returns>
    /// <exception cref="FormatException">It is none.</exception>
    public static ScaleValues Parse(string s, IFormatProvider? provider) =>
        TryParse(s, provider, out ScaleValues result) ? result : throw new FormatException($"'{s}' is no number, nor numbers with commas between.");

    /// <summary>Reads numbers with commas between, as <see cref="ToString"/> writes them.</summary>
    /// <param name="s">The text.</param>
    /// <param name="provider">How numbers are written.</param>
    /// <param name="result">The setting.</param>
    /// <returns>Whether the text is one.</returns>
    public static bool TryParse(string? s, IFormatProvider? provider, out ScaleValues result)
    {
        result = default;
        var values = new List<float>();
        foreach (string part in (s ?? "").Split(','))
        {
            if (!float.TryParse(part, provider, out float value))
            {
                return false;
            }

            values.Add(value);
        }

        result = new ScaleValues(values);
        return true;
    }

    /// <inheritdoc/>
    public bool Equals(ScaleValues other) => Values.SequenceEqual(other.Values);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is ScaleValues other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Values.Count, Values[0], Values[^1]);

    /// <summary>A number, or numbers with commas between.</summary>
    public override string ToString() => string.Join(',', Values.Select(value => value.ToString(CultureInfo.InvariantCulture)));

    /// <summary>A number, or an array of numbers.</summary>
    /// <returns>The JSON.</returns>
    public JsonNode ToJson() => IsOne ? JsonValue.Create(Values[0]) : new JsonArray([.. Values.Select(value => (JsonNode)value)]);

    /// <summary>Whether all numbers keep a rule.</summary>
    /// <param name="rule">The rule.</param>
    internal bool All(Func<float, bool> rule) => Values.All(rule);

    /// <summary>Requires one number, or as many as there are scales, and a rule for each.</summary>
    /// <exception cref="ArgumentException">It is otherwise; the message names the setting.</exception>
    internal void Require(string name, int scales, Func<float, bool> rule, string words)
    {
        if (!IsOne && Values.Count != scales)
        {
            throw new ArgumentException($"The {name} has {Values.Count} values; it needs one, or one for each of the {scales} scales.");
        }

        foreach (float value in Values)
        {
            if (!rule(value))
            {
                throw new ArgumentOutOfRangeException(name, value, $"The {name} must be {words}.");
            }
        }
    }
}
