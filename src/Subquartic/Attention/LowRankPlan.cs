using Subquartic.Criteria;

namespace Subquartic.Attention;

/// <summary>Which rows of a head polynomials serve, of which degree, and how well: the cost model and the bound of
/// <see cref="LowRankHead"/>.</summary>
/// <remarks>Rows are sorted into classes by rho, the half-range of their scores, eight equal steps an octave. All that is decided is
/// decided by class, from its largest rho and the largest box of it and of all lower classes, so that a row may also use the
/// polynomial of a higher class that passes.</remarks>
internal sealed class LowRankPlan
{
    private const int LowestExponent = -6;

    // A double without its last 49 bits counts the steps: exponent and three bits of the fraction.
    private const int StepShift = 49;
    private const long LowestStep = (1023L + LowestExponent) << 3;
    /// <summary>Number of classes.</summary>
    public const int ClassCount = ((4 - LowestExponent) * 8) + 2;
    private const double UnitRoundoff = 1.0 / (1 << 24);

    private readonly int[] _rows = new int[ClassCount];
    private readonly double[] _box = new double[ClassCount];
    private readonly double[] _bounds = new double[ClassCount];
    private readonly ExpPolynomial?[] _polynomials = new ExpPolynomial?[ClassCount];
    private double _boxBar;
    private int _tokensPerSum;

    /// <summary>Degree chosen by <see cref="Choose"/>.</summary>
    public int Degree { get; private set; }

    /// <summary>The class of a row.</summary>
    /// <param name="rho">Bound on the absolute value of its scores.</param>
    /// <returns>The class; the last one has no polynomial.</returns>
    public static byte ClassOf(double rho)
    {
        long index = (BitConverter.DoubleToInt64Bits(rho) >>> StepShift) + 1 - LowestStep; // the next step is above rho; a NaN is above all
        return (byte)Math.Clamp(index, 0, ClassCount - 1);
    }

    /// <summary>Forgets the rows.</summary>
    /// <param name="boxBar">sum_l |qbar_l| max_j |k_jl|.</param>
    /// <param name="tokensPerSum">T: tokens summed in float32.</param>
    public void Clear(double boxBar, int tokensPerSum)
    {
        (_boxBar, _tokensPerSum) = (boxBar, tokensPerSum);
        Array.Clear(_rows);
        Array.Clear(_box);
        Array.Clear(_polynomials);
    }

    /// <summary>Counts a row.</summary>
    /// <param name="rowClass">Its class.</param>
    /// <param name="box">sum_l |q_il| max_j |k_jl|.</param>
    public void Add(byte rowClass, double box)
    {
        _rows[rowClass]++;
        _box[rowClass] = Math.Max(_box[rowClass], box);
    }

    /// <summary>Chooses the degree that needs the fewest multiply-adds, counting the rows that would stay exact.</summary>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="width">c.</param>
    /// <param name="valueWidth">c_v.</param>
    /// <param name="tolerance">Largest error allowed, as a fraction of the range of V.</param>
    /// <returns>Whether some degree is cheaper than computing everything exactly.</returns>
    public bool Choose(int queries, int keys, int width, int valueWidth, double tolerance)
    {
        for (int c = 1; c < ClassCount; c++)
        {
            _box[c] = Math.Max(_box[c], _box[c - 1]);
        }

        double least = AttentionCost.Exact(queries, keys, width, valueWidth);
        Degree = 0;
        for (int degree = 1; degree <= ExpPolynomial.MaxDegree; degree++)
        {
            double features = MonomialBasis.CountOf(width, degree);
            double cost = AttentionCost.LowRank(queries, keys, features, valueWidth);
            if (cost >= least || features > 1 << 20)
            {
                break;
            }

            long failing = _rows[^1];
            for (int c = 0; c < ClassCount - 1; c++)
            {
                if (_rows[c] > 0 && Bound(c, 1.1 * ExpPolynomial.EstimateError(HalfRange(c), degree), Math.Exp(_box[c]), degree, features) > tolerance)
                {
                    failing += _rows[c];
                }
            }

            cost += AttentionCost.Exact(failing, keys, width, valueWidth);
            if (cost < least)
            {
                (least, Degree) = (cost, degree);
            }
        }

        if (Degree == 0)
        {
            return false;
        }

        double count = MonomialBasis.CountOf(width, Degree);
        bool any = false;
        for (int c = 0; c < ClassCount - 1; c++)
        {
            if (_rows[c] > 0)
            {
                ExpPolynomial polynomial = ExpPolynomial.Fit(HalfRange(c), Degree);
                _bounds[c] = Bound(c, polynomial.Error, polynomial.EvaluateAbsolute(_box[c]), Degree, count);
                _polynomials[c] = _bounds[c] <= tolerance ? polynomial : null;
                any |= _bounds[c] <= tolerance;
            }
        }

        return any;
    }

    /// <summary>The polynomial of a class with rows; null when the class stays exact.</summary>
    public ExpPolynomial? Polynomial(int rowClass) => _polynomials[rowClass];

    /// <summary>The bound of the rows that use the polynomial of a class, as a fraction of the range of V.</summary>
    public double Bound(int rowClass) => _bounds[rowClass];

    private static double HalfRange(int rowClass) => BitConverter.Int64BitsToDouble((rowClass + LowestStep) << StepShift);

    /// <summary>The bound of the remarks of <see cref="LowRankHead"/>, as a fraction of the range of V, without its last terms.</summary>
    private double Bound(int rowClass, double epsilon, double absolute, int degree, double features)
    {
        double box = _box[rowClass];
        if (!(epsilon < 1) || degree * Math.Log2(Math.Max(1, 2 * box)) > 60)
        {
            return double.PositiveInfinity;
        }

        double roundings = (2 * degree) + _tokensPerSum + features + 16;
        double gamma = roundings * UnitRoundoff / (1 - (roundings * UnitRoundoff));
        double eta = gamma * absolute * Math.Exp(HalfRange(rowClass)) / (1 - epsilon);
        double delta = (UnitRoundoff * ((2 * box) + _boxBar) * (1 + 1e-3)) + (4 * UnitRoundoff);
        return eta < 1 ? Math.Tanh((delta / 2) + (Math.Atanh(epsilon) / 2)) + (eta / (1 - eta)) : double.PositiveInfinity;
    }
}
