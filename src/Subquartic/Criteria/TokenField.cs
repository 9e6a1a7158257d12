namespace Subquartic.Criteria;

/// <summary>What the tokens of a synthetic head are made of.</summary>
public enum TokenFieldKind
{
    /// <summary>Independent uniform values.</summary>
    Independent,

    /// <summary>Random fields whose amplitude falls as a power of the frequency.</summary>
    PowerLaw,

    /// <summary>Random fields of equal amplitude up to a number of cycles along each axis, and none above.</summary>
    BandLimited,

    /// <summary>A random network of three blocks on a power-law field; queries, keys and values are projections of its features.</summary>
    Network,
}

/// <summary>A synthetic head: how queries, keys and values vary over the picture.</summary>
/// <param name="Kind">What they are made of.</param>
/// <param name="Parameter">Exponent of the power law, or cycles of the band; unused otherwise.</param>
/// <param name="Scale">Queries have this length and keys length 1; for independent tokens it is six standard deviations of the scores.</param>
/// <param name="Noise">Standard deviation of noise added to every token, relative to that of the field.</param>
public readonly record struct TokenField(TokenFieldKind Kind, double Parameter, double Scale, double Noise = 0)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(
        System.Globalization.CultureInfo.InvariantCulture,
        $"{Kind switch
        {
            TokenFieldKind.Independent => "iid",
            TokenFieldKind.PowerLaw => $"1/f^{Parameter}",
            TokenFieldKind.BandLimited => $"band {Parameter}",
            _ => $"network on 1/f^{Parameter}",
        }}, s = {Scale}{(Noise > 0 ? $", noise {Noise}" : "")}");
}
