using System.CommandLine;
using System.Globalization;
using Subquartic.Generation;
using Subquartic.Imaging;

namespace Subquartic.Cli.Verbs;

/// <summary><c>edit</c>: draws a part of a picture anew.</summary>
internal sealed class EditVerb : Verb
{
    private const int MaxPictures = 1000;

    private readonly Argument<FileInfo> _image = new("image")
    {
        Description = "The picture, PNG or PPM. Its middle is cut out and resized to the model's size.",
    };

    private readonly Option<FileInfo?> _mask = new("--mask")
    {
        Description = "A picture of the same size: what is white (or transparent) is drawn anew, what is black is kept.",
        HelpName = "file",
    };

    private readonly Option<string?> _box = new("--box")
    {
        Description = "Instead of a mask, a rectangle in pixels of the picture to draw anew: x and y of its upper left corner, width, height.",
        HelpName = "x,y,width,height",
    };

    private readonly Option<bool> _outside = new("--outside") { Description = "With --box: keep the rectangle and draw what is around it." };

    private readonly Option<string[]?> _classes = ClassOption.Create("[default: none]");

    private readonly Option<int> _count = new Option<int>("--count", "-n")
    {
        Description = "Versions for each class.",
        HelpName = "number",
        DefaultValueFactory = _ => 1,
    }.Require(value => value is >= 1 and <= MaxPictures, $"a whole number, 1 to {MaxPictures}");

    private readonly Option<DirectoryInfo> _out = Drawing.OutOption();

    private readonly SamplingFlags _sampling = new();

    private readonly EngineOptions _engine = new();

    public EditVerb()
        : base(
            "edit", "Draws a part of a picture anew: in-painting, out-painting, or another class in the same place.",
            "edit photo.png --box 80,60,96,96 --class \"golden retriever\"",
            "edit photo.png --mask hole.png --class volcano --count 4 --seed 7",
            "edit photo.png --box 64,64,128,128 --outside --class beach --model ~/var-d16")
    {
        Add(_image);
        Add(_mask);
        Add(_box);
        Add(_outside);
        Add(_classes);
        Add(_count);
        Add(_out);
        _sampling.AddTo(this);
        _engine.AddTo(this);
        AddJson();
        Validators.Add(result =>
        {
            if (result.GetValue(_mask) is null == result.GetValue(_box) is null)
            {
                result.AddError("edit needs either --mask or --box");
            }
            else if (result.GetValue(_outside) && result.GetValue(_box) is null)
            {
                result.AddError("--outside needs --box");
            }
            else if (result.GetValue(_box) is { } box && ParseBox(box) is null)
            {
                result.AddError($"--box is '{box}', must be four whole numbers x,y,width,height, not negative, with some width and height");
            }
        });
    }

    protected override async Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        string path = options.GetRequiredValue(_image).ToString();
        RgbImage image = ImageFile.Load(path);
        RgbImage mask = Mask(options, image);
        using LoadedModel model = _engine.Load(options, terminal, withEncoder: true, cancellation);
        (int height, int width) = (model.Generator.ImageHeight, model.Generator.ImageWidth);
        int[] labels = ClassOption.Labels(
            options.GetValue(_classes), model.Generator.Transformer.Config.Classes, model.ClassNames, [ClassOption.None]);
        GenerationRequest drawn = _sampling.Request(
            options, [.. labels.SelectMany(label => Enumerable.Repeat(label, options.GetValue(_count)))], model.Sampling, model.Scales, model.Generator.HasCritic);
        GenerationRequest request = model.Generator.Prepare(
            new EditRequest
            {
                Image = Resampling.Fill(image, height, width),
                Mask = EditMask.FromPicture(Resampling.Fill(mask, height, width)),
                Generation = drawn,
            },
            cancellation);
        var drawing = new Drawing(model, request, options.GetRequiredValue(_out), terminal);
        await drawing.RunAsync(model.Generator.GenerateAsync(request, cancellation), columns: 0);
        drawing.Report();
        return ExitCode.Success;
    }

    /// <summary>The mask as a picture of the image's size, white where it is drawn anew.</summary>
    private RgbImage Mask(ParseResult options, RgbImage image)
    {
        if (options.GetValue(_mask) is { } file)
        {
            RgbImage mask = ImageFile.Load(file.ToString());
            return (mask.Height, mask.Width) == (image.Height, image.Width) ? mask : throw new UserException(
                $"--mask {file}: {mask.Height} x {mask.Width} pixels, the picture has {image.Height} x {image.Width}");
        }

        (int x, int y, int width, int height) = ParseBox(options.GetRequiredValue(_box)!)!.Value;
        if ((long)x + width > image.Width || (long)y + height > image.Height)
        {
            throw new UserException($"--box {options.GetValue(_box)}: leaves the picture, which has {image.Height} x {image.Width} pixels");
        }

        (byte inside, byte around) = options.GetValue(_outside) ? ((byte)0, (byte)255) : ((byte)255, (byte)0);
        var picture = new RgbImage(image.Height, image.Width);
        picture.Bytes.Fill(around);
        var box = new RgbImage(height, width);
        box.Bytes.Fill(inside);
        picture.Paste(box, y, x);
        return picture;
    }

    private static (int X, int Y, int Width, int Height)? ParseBox(string text)
    {
        int[] numbers = [.. text.Split(',').Select(
            part => int.TryParse(part, NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out int number) ? number : -1)];
        return numbers.Length == 4 && numbers.All(number => number >= 0) && numbers[2] > 0 && numbers[3] > 0
            ? (numbers[0], numbers[1], numbers[2], numbers[3])
            : null;
    }
}
