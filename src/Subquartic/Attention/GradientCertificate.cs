namespace Subquartic.Attention;

/// <summary>Which gradient the low-rank algorithm computes.</summary>
public enum GradientVariant
{
    /// <summary>An approximation, with bounds, of the gradient of exact attention: variant A.</summary>
    OfAttention,

    /// <summary>The gradient of the polynomial forward pass itself, exact up to rounding: variant B. Line searches and difference quotients agree with it. The centres by which
    /// keys and queries are moved count as constants.</summary>
    OfSurrogate,
}

/// <summary>What is known about the gradient of one head: the largest error of an entry of each gradient, over all rows, against the gradient of exact attention in exact
/// arithmetic. Rounding is included. NaN for <see cref="GradientVariant.OfSurrogate"/>, which approximates nothing, infinity when nothing can be said.</summary>
/// <param name="QueryBound">Of the gradient of Q.</param>
/// <param name="KeyBound">Of the gradient of K.</param>
/// <param name="ValueBound">Of the gradient of V.</param>
public readonly record struct GradientCertificate(double QueryBound, double KeyBound, double ValueBound);
