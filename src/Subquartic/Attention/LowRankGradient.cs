using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Low-rank attention of one head over all scales of a sequence, with its gradient in time linear in the tokens: the chained low-rank algorithm of Hu et al.
/// (arXiv 2406.03136, after Alman and Song, arXiv 2402.04497). The weights are f ~ W1 U2^T with features of the polynomial; f o (G V^T) then has the rank of the features
/// times c_v, and dQ, dK, dV follow from sums over the keys, which grow from scale to scale, and sums over the queries, which grow backwards from the last.</summary>
/// <remarks>
/// <para>Exact steps first, as in <see cref="LowRankHead"/>: keys move by c, queries by their mean qbar (a factor w_j = exp(qbar.(k_j - c) - max) per key), values by v0. With scores
/// s_ij = scale q_i.(k_j - c) - qbar.(k_j - c), rows of dS sum to zero, so K - c stands for K in dQ; scale Q = (scale Q - qbar) + qbar gives dK.</para>
/// <para>Notation of the bounds: u = 2^-24, gamma_m = m u/(1 - m u); box_i, rho_i bound |s_ij|; P has |P(s) exp(-s) - 1| &lt;= eps on [-B, B], B = max rho_i;
/// Delta_i = u (2 box_i + boxbar)(1 + 10^-3) + 4u bounds what rounding of stored coordinates does to a score; e = (1 + eps) exp(Delta) - 1; t_i = tanh(Delta_i/2 + atanh(eps)/2);
/// eta_i = gamma_m P_abs(box_i) exp(rho_i)/(1 - eps), m = 2g + T + r + 16, bounds the rounding of a sum over keys relative to its denominator, and
/// W_i is the sum of w_j over the keys that i sees. g_i = sum_b |G_ib| max_j |v_jb - v0_b|, h_i = 2 g_i bounds the range of G_i.V_j, and q_i = max_l (|scale q_il - qbar_l| + |qbar_l|).</para>
/// <para><b>Statement</b> (variant A, all eta_i &lt;= 1/100), per row:
/// |dQ~_il - dQ_il| &lt;= scale max_j |k_jl - c_l| h_i (3 t_i + 3.5 eta_i);
/// |dV~_j - dV_j| &lt;= (2e/(1-e) (1+e)/(1-e) + 1.1 eta)(H_j + 1.1 R'_j)(1 + 2 eta) + 1.1 R'_j, H_j = sum_i f~_ij max_b |G_ib|, R'_j = w_j sum_i eta_i max_b |G_ib| / (W_i (1 - eta));
/// |dK~_j - dK_j| &lt;= ((2e/(1-e) + t)(1+e)/(1-e) + 2.1 eta)(F_j + 1.1 R_j)(1 + 2 eta) + 1.2 R_j, F_j = sum_i f~_ij h_i q_i, R_j = w_j sum_i eta_i h_i q_i / (W_i (1 - eta));
/// each plus u times the entry for its storage in float32, and 2^-68 times the scale of the sums for underflow. F_j and H_j are computed with the gradient, from two more columns.</para>
/// <para><b>Proof.</b> Truncation: with y_j = G_i.V_j, sum_j |f~(y - r~) - f(y - r)| &lt;= 2 t h + t h, as sum |f~ - f| &lt;= 2t and |r~ - r| &lt;= t h; entrywise f~/f lies in
/// [(1-e)/(1+e), (1+e)/(1-e)], so |f~(y - r~) - f(y - r)| &lt;= f h (2e/(1-e) + t), and f &lt;= f~ (1+e)/(1-e). Rounding: every sum over keys, divided by the denominator D~, is wrong by
/// eta times the largest factor of w_j P: that makes D wrong by a factor 1 +- eta, r by 2 eta g/(1 - eta), and the numerator of dQ_il by
/// eta g kappa (2 + 2 (1 + eta)/(1 - eta)), kappa = max_j |k_jl - c_l|; with the division, and 2 g kappa for the value, it is 7 eta g kappa. In dK and dV a term carries D and r of its query,
/// which costs 2.1 eta f~ h q (1.1 eta f~ |G|), and rounding of the sum over queries at most gamma_m w_j P_abs/D~ &lt;= eta w_j/W_i times 1.05 h q (1.05 |G|). The last places of m cover casts
/// and the operations in double. Degrees with g log2 max(1, 2 box) &gt; 30 and weights below exp(-20) are refused: an underflow is wrong by 2^-150, which monomials (2^30), features
/// (2^20), coefficients (2) and tokens (2^31) make 2^-68.</para>
/// </remarks>
internal sealed partial class LowRankGradient : IDisposable
{
    private const int MaxDegree = 12;
    private const double UnitRoundoff = 1.0 / (1 << 24), Underflow = 1.0 / (1L << 60) / 256;

    private readonly BlockWorkspace _work = new();
    private Matrix _queries;
    private Matrix _keys;
    private Matrix _values;
    private IReadOnlyList<AttentionSegment> _segments = [];
    private double _scale;

    // c, the powers of two that bring coordinates, query columns and values to at most 1, qbar, v0, and the largest stored coordinates.
    private float[] _keyShift = [];
    private double[] _keyScale = [];
    private double[] _columnScale = [];
    private double[] _queryMean = [];
    private double[] _valueShift = [];
    private double[] _largestKey = [];
    private double[] _largestValue = [];
    private double _valueScale;

    private double[] _weights = [];
    private double[] _visible = [];
    private double[] _box = [];
    private double[] _rho = [];
    private double _boxBar;
    private double _largestBox;
    private ExpPolynomial? _polynomial;

    /// <summary>B: largest bound on the scores after centring.</summary>
    public double HalfRange { get; private set; }

    /// <summary>The features in use.</summary>
    public MonomialBasis? Basis { get; private set; }

    /// <summary>Multiply-adds of output and gradient by the features in use, or by those of a degree.</summary>
    /// <param name="degree">g.</param>
    /// <returns>The number.</returns>
    public double Cost(int degree) =>
        ((double)_queries.Rows + _keys.Rows) * MonomialBasis.CountOf(_keys.Columns, degree) * (Columns(wide: false) + Columns(wide: true) + QueryColumns + 3);

    /// <summary>Multiply-adds of output and gradient of exact attention.</summary>
    public double ExactCost => _segments.Sum(s => (double)s.Queries * s.Keys) * ((4 * _keys.Columns) + (3 * _values.Columns));

    // Columns of sums over keys, [1 V] times [1 K] or 1, and over queries, [G r] times [1 Q] and two for the bounds; then zeros up to whole tiles.
    private int QueryColumns => MonomialKernels.WholeTiles(((_values.Columns + 1) * (_keys.Columns + 1)) + 2);

    /// <summary>Reads a head and measures what decides: centres, ranges, score bounds.</summary>
    /// <param name="queries">Q (L, c).</param>
    /// <param name="keys">K (S, c).</param>
    /// <param name="values">V (S, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="segments">Which keys each query sees; the queries follow each other and see more and more keys.</param>
    /// <returns>Null when the head can be approximated, otherwise why not.</returns>
    public string? Begin(Matrix queries, Matrix keys, Matrix values, float scale, IReadOnlyList<AttentionSegment> segments)
    {
        (_queries, _keys, _values, _scale, _segments, _polynomial, Basis) = (queries, keys, values, scale, segments, null, null);
        if (!Centre())
        {
            return "a value is not finite";
        }

        double spread = WeighKeys();
        if (!(spread <= 20))
        {
            return $"the mean query spreads the keys over {spread:g3} nats";
        }

        MeasureQueries();
        return HalfRange <= ExpPolynomial.MaxHalfRange ? null : $"scores within ±{HalfRange:g3}, beyond ±{ExpPolynomial.MaxHalfRange}";
    }

    /// <summary>Chooses the least degree whose bounds meet the tolerance.</summary>
    /// <param name="tolerance">Largest error as a fraction of the natural size: of scale h_i max|k - c| for dQ, F_j for dK, H_j for dV, and the range of V for the output.</param>
    /// <returns>Null when it is cheaper than computing exactly, otherwise why not.</returns>
    public string? Choose(double tolerance)
    {
        return LeastDegree(tolerance, ExactCost) is not null ? null : $"scores within ±{HalfRange:g3} need more features than {_keys.Rows} tokens repay";
    }

    /// <summary>Finds and takes the least degree whose bounds meet the tolerance.</summary>
    /// <param name="tolerance">As in <see cref="Choose"/>.</param>
    /// <param name="affordable">Multiply-adds that it must stay below.</param>
    /// <returns>The degree, or null where there is none up to 12.</returns>
    public int? LeastDegree(double tolerance, double affordable = double.PositiveInfinity)
    {
        for (int degree = 1; degree <= MaxDegree && Cost(degree) < affordable && MonomialBasis.CountOf(_keys.Columns, degree) < 1 << 16; degree++)
        {
            if (ExpPolynomial.EstimateError(HalfRange, degree) < tolerance && Use(degree) && Relative() <= tolerance)
            {
                return degree;
            }
        }

        (_polynomial, Basis) = (null, null);
        return null;
    }

    /// <summary>Takes a degree, whatever it costs.</summary>
    /// <param name="degree">g, 1 to 12.</param>
    /// <returns>Whether bounds hold with it.</returns>
    public bool Use(int degree)
    {
        // Half-ranges on a grid, eight to an octave, so that polynomials are found again.
        double halfRange = Math.Min(ExpPolynomial.MaxHalfRange, Math.Pow(2, Math.Ceiling(8 * Math.Log2(Math.Max(HalfRange, 1.0 / 64))) / 8));
        _polynomial = ExpPolynomial.Fit(halfRange, degree);
        if (Basis?.Degree != degree || Basis.Width != _keys.Columns)
        {
            Basis = new MonomialBasis(_keys.Columns, degree);
        }

        return IsValid;
    }

    /// <summary>Frees the working memory.</summary>
    public void Dispose() => _work.Dispose();

    /// <summary>Bound of one row, all of whose keys are visible, as a fraction of the natural size; of all gradients and of the output.</summary>
    private double Relative()
    {
        double e = Combined(_largestBox), t = Distance(_largestBox), eta = Eta(_largestBox, HalfRange);
        double entry = ((2 * e / (1 - e)) + t) * (1 + e) / (1 - e);
        return IsValid ? Math.Max((3 * t) + (3.5 * eta), entry + (3.3 * eta * Math.Exp(2 * HalfRange))) : double.PositiveInfinity;
    }

    private bool IsValid => _polynomial!.Error < 0.5 && _polynomial.Degree * Math.Log2(Math.Max(1, 2 * _largestBox)) <= 30 && Eta(_largestBox, HalfRange) <= 0.01;

    private double Delta(double box) => (UnitRoundoff * ((2 * box) + _boxBar) * (1 + 1e-3)) + (4 * UnitRoundoff);

    private double Distance(double box) => Math.Tanh((Delta(box) + Math.Atanh(_polynomial!.Error)) / 2);

    private double Combined(double box) => ((1 + _polynomial!.Error) * Math.Exp(Delta(box))) - 1;

    private double Eta(double box, double rho)
    {
        double absolute = 0;
        for (int k = _polynomial!.Degree; k >= 0; k--)
        {
            absolute = (absolute * box) + Math.Abs(_polynomial.Coefficients[k]);
        }

        double roundings = (2 * _polynomial.Degree) + Block + Basis!.Count + 16;
        double gamma = roundings * UnitRoundoff / (1 - (roundings * UnitRoundoff));
        return gamma * absolute * Math.Exp(rho) / (1 - _polynomial.Error);
    }

    private int Columns(bool wide) => MonomialKernels.WholeTiles((_values.Columns + 1) * (wide ? _keys.Columns + 1 : 1));

    private bool Centre()
    {
        int width = _keys.Columns, valueWidth = _values.Columns;
        Resize(ref _keyShift, width);
        Resize(ref _keyScale, width);
        Resize(ref _columnScale, width);
        Resize(ref _queryMean, width);
        Resize(ref _largestKey, width);
        Resize(ref _valueShift, valueWidth);
        Resize(ref _largestValue, valueWidth);
        double sum = 0;
        for (int l = 0; l < width; l++)
        {
            (float low, float high) = Extremes(_keys, l);
            _keyShift[l] = (float)(((double)low + high) / 2);
            double largest = Math.Max((double)high - _keyShift[l], (double)_keyShift[l] - low);
            double mean = 0, reach = 0;
            for (int i = 0; i < _queries.Rows; i++)
            {
                double value = _scale * _queries.Row(i)[l];
                mean += value;
                reach = Math.Max(reach, Math.Abs(value));
            }

            _queryMean[l] = mean / _queries.Rows;

            // A coordinate in which all keys agree adds nothing to scores; its queries are kept at most 1.
            _keyScale[l] = largest > 0 ? Power(largest) : reach > 0 ? 1 / Power(2 * reach) : 1;
            _largestKey[l] = largest * _keyScale[l];
            sum += largest + reach;
        }

        double span = 0;
        for (int b = 0; b < valueWidth; b++)
        {
            (float low, float high) = Extremes(_values, b);
            _valueShift[b] = ((double)low + high) / 2;
            _largestValue[b] = ((double)high - low) / 2;
            span = Math.Max(span, _largestValue[b]);
            sum += Math.Abs(_valueShift[b]) + _largestValue[b];
        }

        _valueScale = span > 0 ? Power(span) : 1;
        return double.IsFinite(sum) && sum < float.MaxValue / 4;
    }

    /// <summary>w_j and their sums over what each segment sees; returns the spread of their logarithms.</summary>
    private double WeighKeys()
    {
        Resize(ref _weights, _keys.Rows);
        Resize(ref _visible, _segments.Count);
        double least = double.PositiveInfinity, largest = double.NegativeInfinity;
        for (int j = 0; j < _keys.Rows; j++)
        {
            ReadOnlySpan<float> key = _keys.Row(j);
            double exponent = 0;
            for (int l = 0; l < key.Length; l++)
            {
                exponent += _queryMean[l] * ((double)key[l] - _keyShift[l]);
            }

            _weights[j] = exponent;
            least = Math.Min(least, exponent);
            largest = Math.Max(largest, exponent);
        }

        double sum = 0;
        int next = 0;
        for (int s = 0; s < _segments.Count; s++)
        {
            for (; next < _segments[s].Keys; next++)
            {
                sum += _weights[next] = Math.Exp(_weights[next] - largest);
            }

            _visible[s] = sum;
        }

        return largest - least;
    }

    private void MeasureQueries()
    {
        Resize(ref _box, _queries.Rows);
        Resize(ref _rho, _queries.Rows);
        double radius = 0;
        for (int j = 0; j < _keys.Rows; j++)
        {
            double squares = 0;
            ReadOnlySpan<float> key = _keys.Row(j);
            for (int l = 0; l < key.Length; l++)
            {
                double value = (double)key[l] - _keyShift[l];
                squares += value * value;
            }

            radius = Math.Max(radius, squares);
        }

        radius = Math.Sqrt(radius);
        HalfRange = _largestBox = _boxBar = 0;
        Span<double> reach = stackalloc double[_keys.Columns];
        reach.Clear();
        for (int i = 0; i < _queries.Rows; i++)
        {
            ReadOnlySpan<float> query = _queries.Row(i);
            double squares = 0, box = 0;
            for (int l = 0; l < query.Length; l++)
            {
                double value = (_scale * query[l]) - _queryMean[l];
                double stored = Math.Abs(value / _keyScale[l]);
                squares += value * value;
                box += stored * _largestKey[l];
                reach[l] = Math.Max(reach[l], stored);
            }

            // The factors cover rounding of what is stored and of these sums.
            _box[i] = box * (1 + 1e-6);
            _rho[i] = Math.Min(_box[i], Math.Sqrt(squares) * radius * (1 + 1e-6));
            HalfRange = Math.Max(HalfRange, _rho[i]);
            _largestBox = Math.Max(_largestBox, _box[i]);
        }

        for (int l = 0; l < reach.Length; l++)
        {
            _columnScale[l] = reach[l] > 0 ? Power(reach[l]) : 1;
            _boxBar += Math.Abs(_queryMean[l]) * _largestKey[l] / _keyScale[l];
        }
    }

    private static (float Low, float High) Extremes(Matrix matrix, int column)
    {
        float low = float.PositiveInfinity, high = float.NegativeInfinity;
        for (int i = 0; i < matrix.Rows; i++)
        {
            float value = matrix.Row(i)[column];
            low = Math.Min(low, value); // both keep a NaN
            high = Math.Max(high, value);
        }

        return (low, high);
    }

    /// <summary>The power of two that brings a maximum into [1/2, 1).</summary>
    private static double Power(double maximum) => Math.ScaleB(1, -Math.ILogB(maximum) - 1);

    private static void Resize<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[length];
        }
    }
}
