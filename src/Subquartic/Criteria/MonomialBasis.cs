using Subquartic.Numerics.Kernels;

namespace Subquartic.Criteria;

/// <summary>All monomials x^alpha of degree at most g in d variables, ordered by degree: the feature map of low-rank attention.
/// (q.k)^m = sum_{|alpha| = m} mult(alpha) q^alpha k^alpha with mult(alpha) = m! / prod alpha_l!, so a polynomial of degree g
/// of the score has rank at most <see cref="Count"/> = C(d + g, g).</summary>
/// <remarks>Alman and Song (arXiv 2302.13214) count C(2(g + d), 2g); symmetric monomials are the tight count. Every monomial but 1
/// is a parent, one degree lower, times one coordinate, so each costs one multiplication per vector.</remarks>
public sealed class MonomialBasis
{
    private readonly int[] _parents;
    private readonly int[] _coordinates;
    private readonly double[] _multiplicities;
    private readonly int[] _starts;
    private readonly MonomialRun[] _runs;

    /// <summary>Lists the monomials.</summary>
    /// <param name="width">d, at least 1.</param>
    /// <param name="degree">g, at least 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is out of range, or there are more than 2^24 monomials.</exception>
    public MonomialBasis(int width, int degree)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(degree);
        double count = CountOf(width, degree);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 1 << 24, nameof(degree));
        Width = width;
        Degree = degree;
        Count = (int)count;
        _parents = new int[Count];
        _coordinates = new int[Count];
        _multiplicities = new double[Count];
        _starts = new int[degree + 2];
        _multiplicities[0] = 1;
        _coordinates[0] = -1;
        _parents[0] = -1;
        _starts[1] = 1;

        // exponents[i]: exponent of the last variable in monomial i, enough to update the multinomial coefficient.
        var exponents = new int[Count];
        int next = 1;
        var runs = new List<MonomialRun>();
        for (int m = 1; m <= degree; m++)
        {
            // Children of the same coordinate form runs of parents, which the kernels multiply in one sweep.
            for (int coordinate = 0; coordinate < width; coordinate++)
            {
                int first = next;
                for (int parent = _starts[m - 1]; parent < _starts[m]; parent++)
                {
                    if (_coordinates[parent] > coordinate)
                    {
                        continue;
                    }

                    int exponent = _coordinates[parent] == coordinate ? exponents[parent] + 1 : 1;
                    _parents[next] = parent;
                    _coordinates[next] = coordinate;
                    exponents[next] = exponent;
                    _multiplicities[next] = _multiplicities[parent] * m / exponent;
                    next++;
                }

                runs.Add(new MonomialRun(first, _starts[m - 1], coordinate, next - first));
            }

            _starts[m + 1] = next;
        }

        _runs = [.. runs];
    }

    /// <summary>d, number of variables.</summary>
    public int Width { get; }

    /// <summary>g, largest degree.</summary>
    public int Degree { get; }

    /// <summary>r = C(d + g, g), number of monomials.</summary>
    public int Count { get; }

    /// <summary>Index of each monomial's parent; -1 for the constant.</summary>
    public ReadOnlySpan<int> Parents => _parents;

    /// <summary>The coordinate that a parent is multiplied by; -1 for the constant.</summary>
    public ReadOnlySpan<int> Coordinates => _coordinates;

    /// <summary>How the monomials but 1 come from their parents, in sweeps; those of degree m are d of them, from (m - 1) d on.</summary>
    public ReadOnlySpan<MonomialRun> Runs => _runs;

    /// <summary>First monomial of every degree, and r.</summary>
    public ReadOnlySpan<int> Starts => _starts;

    /// <summary>mult(alpha).</summary>
    public ReadOnlySpan<double> Multiplicities => _multiplicities;

    /// <summary>C(d + g, g) without building the list; exact up to 2^53.</summary>
    /// <param name="width">d.</param>
    /// <param name="degree">g.</param>
    /// <returns>The number of monomials, as a double because it grows fast.</returns>
    public static double CountOf(int width, int degree)
    {
        double count = 1;
        for (int i = 1; i <= degree; i++)
        {
            count = Math.Round(count * (width + i) / i);
        }

        return count;
    }

    /// <summary>Index of the first monomial of a degree; the monomials of degree at most m are a prefix that ends at Start(m + 1).</summary>
    /// <param name="degree">0 to g + 1.</param>
    /// <returns>The index.</returns>
    public int Start(int degree) => _starts[degree];

    /// <summary>Moments about another centre: with M_alpha = sum_j w_j x_j^alpha given, finds sum_j w_j (x_j - h)^alpha, exact but for rounding in double.</summary>
    /// <param name="moments">(r, columns), overwritten.</param>
    /// <param name="columns">Columns, each with weights of its own.</param>
    /// <param name="shift">h (d).</param>
    /// <remarks>Coordinate by coordinate a Taylor shift, as the binomial sum of (x - h)^n; about d g r columns / 2 multiply-adds.</remarks>
    public void Translate(Span<double> moments, int columns, ReadOnlySpan<double> shift)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(moments.Length, Count * columns, nameof(moments));
        ArgumentOutOfRangeException.ThrowIfNotEqual(shift.Length, Width, nameof(shift));
        var exponents = new byte[Count];
        var lower = new int[Count];
        for (int axis = 0; axis < Width; axis++)
        {
            if (shift[axis] == 0)
            {
                continue;
            }

            // lower[alpha] is alpha with one power less of this coordinate: its parent, or the same child of the parent's.
            exponents[0] = 0;
            for (int m = 1; m <= Degree; m++)
            {
                for (int alpha = _starts[m]; alpha < _starts[m + 1]; alpha++)
                {
                    int parent = _parents[alpha];
                    bool own = _coordinates[alpha] == axis;
                    exponents[alpha] = (byte)(exponents[parent] + (own ? 1 : 0));
                    lower[alpha] = own ? parent : exponents[alpha] == 0 ? -1 : Child(m - 1, lower[parent], _coordinates[alpha]);
                }
            }

            for (int pass = 1; pass <= Degree; pass++)
            {
                for (int alpha = Count - 1; alpha > 0; alpha--)
                {
                    if (exponents[alpha] >= pass)
                    {
                        for (int c = 0; c < columns; c++)
                        {
                            moments[(alpha * columns) + c] -= shift[axis] * moments[(lower[alpha] * columns) + c];
                        }
                    }
                }
            }
        }
    }

    /// <summary>Index of a monomial of a degree that is a parent times a coordinate, none of the parent's being higher.</summary>
    private int Child(int degree, int parent, int coordinate)
    {
        MonomialRun run = _runs[((degree - 1) * Width) + coordinate];
        return run.Child + parent - run.Parent;
    }
}
