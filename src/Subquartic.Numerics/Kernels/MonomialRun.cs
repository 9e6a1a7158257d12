namespace Subquartic.Numerics.Kernels;

/// <summary>Monomials that follow each other and whose parents do too: row Child + i is row Parent + i times one coordinate.</summary>
/// <param name="Child">First monomial.</param>
/// <param name="Parent">Its parent, a monomial of one degree less.</param>
/// <param name="Coordinate">The coordinate they are multiplied by.</param>
/// <param name="Count">Number of monomials.</param>
public readonly record struct MonomialRun(int Child, int Parent, int Coordinate, int Count);
