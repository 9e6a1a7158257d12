namespace Subquartic.Attention;

/// <summary>What low-rank attention found out about a head.</summary>
/// <param name="HalfRange">B: bound on the scores that polynomials serve, after all reductions; NaN when it was not measured.</param>
/// <param name="Width">Coordinates of the features, after projection; 0 when the head was computed exactly.</param>
/// <param name="Degree">Largest degree in use.</param>
/// <param name="Features">r = C(width + degree, degree).</param>
/// <param name="OutlierKeys">Keys whose terms were added exactly.</param>
/// <param name="ExactRows">Rows computed exactly.</param>
/// <param name="Cost">Predicted time over that of exact attention.</param>
public readonly record struct LowRankDiagnosis(
    double HalfRange, int Width, int Degree, int Features, int OutlierKeys, int ExactRows, double Cost);
